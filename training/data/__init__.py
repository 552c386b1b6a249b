"""Captioned clips from folders, tables and shards, in an order that is a function of the step."""
