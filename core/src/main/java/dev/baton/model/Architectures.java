package dev.baton.model;

import dev.baton.model.llama.Llama;
import dev.baton.tensor.cpu.CpuOps;
import java.util.Map;
import java.util.TreeSet;

/// The model families that can be run, by the name that `architectures` in `config.json` says. A new one is one
/// class and one line here.
final class Architectures {
    /// Builds a model.
    interface Factory {
        /// Packs the weights and takes over `ops`.
        ///
        /// @param ops owned by the model once this has returned
        CausalLm create(ModelConfig config, Weights weights, CpuOps ops);
    }

    private static final Map<String, Factory> FACTORIES = Map.of("LlamaForCausalLM", Llama::new);

    private Architectures() {}

    static Factory factory(String architecture) {
        Factory factory = FACTORIES.get(architecture);
        if (factory == null) {
            throw new ModelException("the architecture " + architecture + " is not supported; supported: "
                    + String.join(", ", new TreeSet<>(FACTORIES.keySet())));
        }
        return factory;
    }
}
