"""Networks as files that run without facezoo: ONNX and torch.export, pre-processing and licences inside."""

from facezoo.export.write import FORMATS, Exported, export_model, read_metadata

__all__ = ["FORMATS", "Exported", "export_model", "read_metadata"]
