"""Engines: what completes chats, behind one small Protocol (`base.Engine`)."""
