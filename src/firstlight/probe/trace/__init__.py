"""The traced pass: calling the model, watching its operations, its gradients, and leaving no trace."""
