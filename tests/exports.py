"""Trainings without the export to ONNX, which takes half a minute and more; test_gan compares it with torch."""

from types import SimpleNamespace


class TorchSession:
    """Answers as ONNX Runtime would with the exported model, from the generator itself."""

    def __init__(self, generator):
        from mantid_insgan.learn.export import _Exported, _ExportedCut, input_names

        self.names = input_names(generator.dimensions)
        self.model = (_ExportedCut if generator.dimensions == 1 else _Exported)(generator.eval())

    def get_inputs(self):
        return [SimpleNamespace(name=name) for name in self.names]

    def get_providers(self):
        return ["CPUExecutionProvider"]

    def run(self, outputs, inputs, options):
        import torch

        with torch.no_grad():
            return [x.numpy() for x in self.model(*(torch.from_numpy(inputs[name]) for name in self.names))]


def leave_out(monkeypatch) -> list:
    """Let trainings write a stub in place of the graph, and apply their generators; gives these, in their order."""
    from mantid_insgan.learn import describe, train_job
    from mantid_insgan.translate import translator

    generators, real = [], translator.open_session

    def write(generator, path, graph=None):
        path.write_text(f"generator {len(generators)}")
        generators.append(generator)

    def session(model, *more):
        kind, _, number = model.path.read_bytes()[:20].partition(b" ")
        return TorchSession(generators[int(number)]) if kind == b"generator" else real(model, *more)

    monkeypatch.setattr(describe, "export", write)
    monkeypatch.setattr(train_job, "trace_form", lambda generator: b"")
    monkeypatch.setattr(translator, "open_session", session)
    return generators
