package dev.baton.model;

import dev.baton.model.decoder.Decoder;
import dev.baton.model.decoder.DecoderSpec;
import dev.baton.model.safetensors.SafetensorsWeights;
import dev.baton.tensor.cpu.CpuOps;
import java.nio.file.Path;

/// Loads a model from a Hugging Face folder.
public final class ModelLoader {
    private ModelLoader() {}

    /// Reads the configuration alone, and looks whether the model can be run.
    ///
    /// @param directory holds `config.json`
    /// @throws ModelException naming the file and what is wrong with it
    public static ModelConfig config(Path directory) {
        ConfigFields fields = ModelConfigs.fields(directory);
        ModelConfig config = ModelConfigs.read(directory, fields);
        Architectures.family(config.architecture()).describe(fields);
        return config;
    }

    /// Reads the configuration and the weights, and makes the model ready to run. The caller closes it.
    ///
    /// @param directory holds `config.json`, `generation_config.json` if there is one, and, unless the weights are
    ///     dummies, `model.safetensors` or `model.safetensors.index.json` with its shards
    /// @throws ModelException naming the file and what is wrong with it
    public static CausalLm load(Path directory, LoadOptions options) {
        ConfigFields fields = ModelConfigs.fields(directory);
        ModelConfig config = ModelConfigs.read(directory, fields);
        DecoderSpec spec = Architectures.family(config.architecture()).describe(fields);
        try (Weights weights = switch (options.format()) {
            case AUTO -> SafetensorsWeights.open(directory);
            case DUMMY -> new DummyWeights(config.weightsDType(), options.seed());
        }) {
            CpuOps ops = CpuOps.create(options.ops(), options.cpuThreads(), options.quantization());
            try {
                return new Decoder(config, spec, weights, ops);
            } catch (RuntimeException | Error e) {
                ops.close();
                throw e;
            }
        }
    }
}
