"""ONNX, for runtimes without PyTorch: see member.py."""
