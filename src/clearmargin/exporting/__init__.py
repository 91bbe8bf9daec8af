"""A trained model leaves its run: as one ONNX file, as plain PyTorch, or as a page that runs in a browser."""
