"""INT8: fake quantisation of a student, its ranges, and what is written of it to ONNX."""
