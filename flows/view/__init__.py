"""`spar view`: a home's runs, trees, prompts, pairs, drops, scores and models in a browser, read-only.

`app` answers requests, `reader` asks the catalogue, `pages` has a file per kind of page, `templates` their looks.
A page is a function that takes a request and renders a template; its address is made in `storage.places`.
"""
