package dev.baton.serving;

import dev.baton.engine.SamplingParams;
import dev.baton.engine.TokenConstraint;
import dev.baton.openai.ApiError;
import dev.baton.openai.ApiException;
import dev.baton.openai.GenerationOptions;
import dev.baton.openai.SamplingOptions;
import dev.baton.tokenizer.Tokenizer;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;

/// Turns the options of requests into the engine's sampling parameters: what a request says, else what the model's
/// defaults say. Thread-safe; grammars take long to compile, so not for event loops.
final class Sampling {
    private static final float MAX_BIAS = 100f;

    private final Tokenizer tokenizer;
    private final int maxModelLen;
    private final int vocabSize;
    private final DefaultSampling defaults;
    private final Constraints constraints;

    /// @param vocabSize number of token ids that the model takes
    Sampling(Tokenizer tokenizer, int maxModelLen, int vocabSize, DefaultSampling defaults, Constraints constraints) {
        this.tokenizer = tokenizer;
        this.maxModelLen = maxModelLen;
        this.vocabSize = vocabSize;
        this.defaults = defaults;
        this.constraints = constraints;
    }

    /// Checks the options of one request against the model.
    ///
    /// @throws ApiException if they do not fit
    OfRequest of(GenerationOptions options) {
        options.output().checkLogprobs(vocabSize);
        requireInVocabulary(options.stop().tokenIds(), "stop_token_ids");
        SamplingOptions sampling = options.sampling();
        requireInVocabulary(sampling.logitBias().keySet(), "logit_bias");
        List<Integer> allowed = sampling.allowedTokenIds().orElse(List.of());
        List<Integer> strange = outside(allowed);
        if (!strange.isEmpty()) {
            throw new ApiException(ApiError.badParameter(
                    "allowed_token_ids contains out-of-vocab token id!", "allowed_token_ids", strange));
        }
        Map<Integer, Float> biases = new HashMap<>();
        sampling.logitBias().forEach((id, bias) -> biases.put(id, Math.clamp(bias, -MAX_BIAS, MAX_BIAS)));
        return new OfRequest(
                options,
                biases,
                allowed,
                badWords(sampling.badWords()),
                sampling.structuredOutput().map(constraints::of));
    }

    private void requireInVocabulary(Collection<Integer> ids, String field) {
        List<Integer> outside = outside(ids);
        if (!outside.isEmpty()) {
            throw new ApiException(ApiError.badParameter(
                    "token_id(s) " + outside + " in " + field + " contain out-of-vocab token ids. Vocabulary size: "
                            + vocabSize,
                    field,
                    outside));
        }
    }

    private List<Integer> outside(Collection<Integer> ids) {
        return ids.stream().filter(id -> id < 0 || id >= vocabSize).sorted().toList();
    }

    /// A word is forbidden as it is and, where a space before it makes other tokens of the same number, with a
    /// space before it: vLLM's rule.
    private List<List<Integer>> badWords(List<String> words) {
        List<List<Integer>> banned = new ArrayList<>();
        for (String word : words) {
            String bare = word.stripLeading();
            List<Integer> plain = ids(bare);
            if (plain.isEmpty()) {
                throw new ApiException(ApiError.badParameter(
                        "bad_words entries must tokenize to at least one token.", "bad_words", words));
            }
            banned.add(plain);
            List<Integer> spaced = ids(" " + bare);
            if (spaced.size() == plain.size() && !spaced.getFirst().equals(plain.getFirst())) {
                banned.add(spaced);
            }
        }
        return banned;
    }

    private List<Integer> ids(String text) {
        List<Integer> ids = new ArrayList<>();
        for (int id : tokenizer.encode(text, false)) {
            ids.add(id);
        }
        return ids;
    }

    /// The parameters of one request's sequences.
    final class OfRequest {
        private final GenerationOptions options;
        private final Map<Integer, Float> biases;
        private final List<Integer> allowed;
        private final List<List<Integer>> badWords;
        private final Optional<TokenConstraint> constraint;

        private OfRequest(
                GenerationOptions options,
                Map<Integer, Float> biases,
                List<Integer> allowed,
                List<List<Integer>> badWords,
                Optional<TokenConstraint> constraint) {
            this.options = options;
            this.biases = biases;
            this.allowed = allowed;
            this.badWords = badWords;
            this.constraint = constraint;
        }

        /// The parameters of one choice.
        ///
        /// @param choice index among the choices of the prompt; each draws its own numbers
        SamplingParams params(int promptTokens, int choice) {
            int room = maxModelLen - promptTokens;
            int wanted = options.maxTokens().orElse(defaults.maxTokens().orElse(room));
            int maxTokens = Math.min(room, Math.max(1, wanted));
            SamplingOptions sampling = options.sampling();
            OptionalLong seed = sampling.seed().isPresent()
                    ? OptionalLong.of(sampling.seed().getAsLong() + choice)
                    : OptionalLong.empty();
            OptionalInt topK = sampling.topK().isPresent() ? sampling.topK() : defaults.topK();
            return SamplingParams.builder(maxTokens)
                    .temperature((float)
                            sampling.temperature().orElse(defaults.temperature().orElse(1)))
                    .topP((float) sampling.topP().orElse(defaults.topP().orElse(1)))
                    .topK(Math.min(vocabSize, Math.max(0, topK.orElse(0))))
                    .minP((float) sampling.minP().orElse(defaults.minP().orElse(0)))
                    .repetitionPenalty((float) sampling.repetitionPenalty()
                            .orElse(defaults.repetitionPenalty().orElse(1)))
                    .presencePenalty((float) sampling.presencePenalty())
                    .frequencyPenalty((float) sampling.frequencyPenalty())
                    .seed(seed)
                    .minTokens(Math.min(options.stop().minTokens(), maxTokens))
                    .ignoreEos(options.stop().ignoreEos())
                    .stopTokenIds(options.stop().tokenIds())
                    .logprobs(options.output().logprobs())
                    .promptLogprobs(options.output().promptLogprobs())
                    .logitBias(biases)
                    .allowedTokenIds(allowed)
                    .badWords(badWords)
                    .constraint(constraint)
                    .build();
        }
    }
}
