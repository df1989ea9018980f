"""Random graphs through stock TVM and through ours; what differs is shrunk and saved."""
