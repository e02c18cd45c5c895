"""The graph of a traced forward: sites, element-wise expressions, and what torch functions do."""
