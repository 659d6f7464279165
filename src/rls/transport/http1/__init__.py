"""HTTP/1.1: a listener of ours around uvicorn's protocol."""
