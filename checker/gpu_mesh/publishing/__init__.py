"""The page, the feed, the badges and the JSON that any web server can give out."""
