"""The gateway: one OpenAI-compatible endpoint that routes every request."""
