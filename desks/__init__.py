"""Who decides and how, and the tools on the desk: server connections, the workbench, the solo desk."""
