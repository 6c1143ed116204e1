"""A knowledge graph per trader, and the MCP server that lets it be written and read."""
