package dev.baton.model;

import dev.baton.model.decoder.DecoderSpec;
import dev.baton.model.family.Llama;
import dev.baton.model.family.Mistral;
import dev.baton.model.family.Qwen2;
import dev.baton.model.family.Qwen3;
import java.util.Map;
import java.util.TreeSet;

/// The model families that can be run, by the name that `architectures` in `config.json` says. A new one is one
/// class and one line here.
final class Architectures {
    /// One family.
    interface Family {
        /// Reads what is particular to the family out of `config.json`.
        ///
        /// @throws ModelException naming the file, the field and what is needed
        DecoderSpec describe(ConfigFields config);
    }

    private static final Map<String, Family> FAMILIES = Map.of(
            "LlamaForCausalLM", Llama::describe,
            "MistralForCausalLM", Mistral::describe,
            "Qwen2ForCausalLM", Qwen2::describe,
            "Qwen3ForCausalLM", Qwen3::describe);

    private Architectures() {}

    static Family family(String architecture) {
        Family family = FAMILIES.get(architecture);
        if (family == null) {
            throw new ModelException("the architecture " + architecture + " is not supported; supported: "
                    + String.join(", ", new TreeSet<>(FAMILIES.keySet())));
        }
        return family;
    }
}
