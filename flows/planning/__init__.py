"""What a run would do and need, looked up and worked out before it starts; nothing here runs or writes anything."""
