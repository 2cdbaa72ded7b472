"""The verbs. Web, XML-RPC and CLI may call nothing else."""
