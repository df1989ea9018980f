"""Random graphs through stock TVM, through ours and past a reference; failures are shrunk."""
