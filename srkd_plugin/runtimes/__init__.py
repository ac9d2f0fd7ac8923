"""What upscales images with a finished model: torch, onnxruntime, ncnn; whole images or tiles."""
