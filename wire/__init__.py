"""What all our MCP servers share: refusals at the edge, life on stdio, the words of a tool's annotations."""
