package dev.baton.model;

import dev.baton.model.cuda.CudaModel;
import dev.baton.model.cuda.CudaOptions;
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

    /// The same on an NVIDIA GPU, or on several. The caller closes it.
    ///
    /// @param options those that are about the CPU do not matter
    /// @throws ModelException naming the file and what is wrong with it, or what does not fit into the GPU's memory
    /// @throws dev.baton.tensor.TensorException if there is no GPU or a library is missing, in one sentence
    public static CudaModel loadCuda(Path directory, LoadOptions options, CudaOptions cuda) {
        ConfigFields fields = ModelConfigs.fields(directory);
        ModelConfig config = ModelConfigs.read(directory, fields);
        DecoderSpec spec = Architectures.family(config.architecture()).describe(fields);
        return switch (options.format()) {
            case AUTO -> {
                try (Weights weights = SafetensorsWeights.open(directory)) {
                    yield CudaModel.load(config, spec, weights, cuda);
                }
            }
            case DUMMY -> CudaModel.dummy(config, spec, options.seed(), cuda);
        };
    }
}
