package dev.baton.serving;

import dev.baton.engine.SamplingParams;
import dev.baton.openai.ApiError;
import dev.baton.openai.ApiException;
import dev.baton.openai.ChatInput;
import dev.baton.openai.GenerationOptions;
import dev.baton.openai.Prompt;
import dev.baton.tokenizer.ChatTemplate;
import dev.baton.tokenizer.ChatTemplateException;
import dev.baton.tokenizer.Tokenizer;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.OptionalLong;

/// Turns what a request says into what the engine takes: prompts into token ids within the context, options into
/// sampling parameters. Thread-safe; tokenising takes long, so not for event loops.
final class Prompts {
    private static final float MAX_BIAS = 100f;

    private final Tokenizer tokenizer;
    private final int maxModelLen;
    private final int vocabSize;
    private final DefaultSampling defaults;
    private final int maxTokenBytes;

    Prompts(Tokenizer tokenizer, int maxModelLen, int vocabSize, DefaultSampling defaults) {
        this.tokenizer = tokenizer;
        this.maxModelLen = maxModelLen;
        this.vocabSize = vocabSize;
        this.defaults = defaults;
        this.maxTokenBytes = longestToken(tokenizer);
    }

    private static int longestToken(Tokenizer tokenizer) {
        int longest = 1;
        for (int id = 0; id < tokenizer.vocabularySize(); id++) {
            int bytes = tokenizer.isSpecial(id)
                    ? tokenizer.tokenText(id).getBytes(StandardCharsets.UTF_8).length
                    : tokenizer.tokenBytes(id).length;
            longest = Math.max(longest, bytes);
        }
        return longest;
    }

    int maxModelLen() {
        return maxModelLen;
    }

    /// The tokens of one prompt of a completion request, checked and cut as the options say.
    ///
    /// @throws ApiException if it does not fit into the context
    EncodedPrompt encode(Prompt prompt, GenerationOptions options) {
        int[] ids = switch (prompt) {
            case Prompt.Text(String text) -> encode(text, options.prompt().addSpecialTokens(), options);
            case Prompt.Tokens(int[] given) -> requireInVocabulary(given);
        };
        return new EncodedPrompt(fit(ids, options), "");
    }

    /// The tokens of a conversation.
    EncodedPrompt encode(ChatInput chat, GenerationOptions options) {
        int[] ids = encode(render(chat), options.prompt().addSpecialTokens(), options);
        return new EncodedPrompt(fit(ids, options), "");
    }

    private int[] encode(String text, boolean addSpecialTokens, GenerationOptions options) {
        // A text that cannot fit, whatever its tokens are, is not worth the time that tokenising would take.
        long atLeast = (text.length() + (long) maxTokenBytes - 1) / maxTokenBytes;
        if (atLeast > maxModelLen && options.prompt().truncatePromptTokens().isEmpty()) {
            throw tooLong("at least " + atLeast, atLeast);
        }
        return tokenizer.encode(text, addSpecialTokens);
    }

    /// The text that the model's chat template makes of a conversation.
    String render(ChatInput chat) {
        ChatTemplate template = tokenizer
                .chatTemplate()
                .orElseThrow(() -> new ApiException(ApiError.badRequest(
                        "The model has no chat template, so it takes completions only: its tokenizer_config.json"
                                + " names no chat_template.")));
        String text;
        try {
            text = template.render(chat.messages(), chat.addGenerationPrompt(), chat.templateFields());
        } catch (ChatTemplateException e) {
            throw new ApiException(ApiError.badRequest(String.valueOf(e.getMessage())));
        }
        return chat.continueFinalMessage() ? cutAfterFinalMessage(text, chat) : text;
    }

    /// Leaves the last message open: what the template writes after its content is dropped.
    private static String cutAfterFinalMessage(String text, ChatInput chat) {
        String content =
                String.valueOf(chat.messages().getLast().get("content")).strip();
        int at = text.lastIndexOf(content);
        if (content.isEmpty() || at < 0) {
            throw new ApiException(ApiError.badRequest(
                    "continue_final_message is set but the final message does not appear in the chat after applying"
                            + " the chat template.",
                    "continue_final_message"));
        }
        return text.substring(0, at + content.length());
    }

    /// The same ids.
    ///
    /// @throws ApiException if the model does not take one of them
    int[] requireInVocabulary(int[] ids) {
        for (int id : ids) {
            if (id < 0 || id >= vocabSize) {
                throw new ApiException(ApiError.badRequest("Token id " + id + " is out of vocabulary"));
            }
        }
        return ids;
    }

    private int[] fit(int[] ids, GenerationOptions options) {
        int[] kept = ids;
        if (options.prompt().truncatePromptTokens().isPresent()) {
            int wanted = options.prompt().truncatePromptTokens().getAsInt();
            int most = wanted < 0 ? maxModelLen - options.maxTokens().orElse(1) : wanted;
            if (most > maxModelLen) {
                throw new ApiException(ApiError.badRequest("truncate_prompt_tokens value (" + most
                        + ") is greater than max_model_len (" + maxModelLen
                        + "). Please, select a smaller truncation size."));
            }
            kept = ids.length > most ? Arrays.copyOfRange(ids, ids.length - Math.max(1, most), ids.length) : ids;
        }
        if (kept.length == 0) {
            throw new ApiException(ApiError.badRequest(
                    "Either prompt or prompt_embeds must be provided and non-empty. (parameter=prompt)", "prompt"));
        }
        if (kept.length > maxModelLen) {
            throw tooLong(Integer.toString(kept.length), kept.length);
        }
        if (kept.length == maxModelLen) {
            throw new ApiException(ApiError.badParameter(
                    "This model's maximum context length is " + maxModelLen
                            + " tokens. However, you requested 1 output tokens and your prompt contains at least "
                            + kept.length + " input tokens, for a total of at least " + (kept.length + 1)
                            + " tokens. Please reduce the length of the input prompt or the number of requested"
                            + " output tokens.",
                    "input_tokens",
                    kept.length));
        }
        return kept;
    }

    private ApiException tooLong(String count, long value) {
        return new ApiException(ApiError.badParameter(
                "This model's maximum context length is " + maxModelLen + " tokens. However, your prompt contains "
                        + count + " input tokens, which exceeds this limit even without any output tokens."
                        + " Please reduce the length of the input prompt.",
                "input_tokens",
                value));
    }

    /// The sampling parameters for one prompt: what the request says, else what the model's defaults say.
    ///
    /// @param choice index among the choices of the prompt; each draws its own numbers
    SamplingParams sampling(GenerationOptions options, int promptTokens, int choice) {
        int room = maxModelLen - promptTokens;
        int maxTokens =
                Math.min(room, options.maxTokens().orElse(defaults.maxTokens().orElse(room)));
        OptionalLong seed = options.sampling().seed().isPresent()
                ? OptionalLong.of(options.sampling().seed().getAsLong() + choice)
                : OptionalLong.empty();
        OptionalInt topK =
                options.sampling().topK().isPresent() ? options.sampling().topK() : defaults.topK();
        return SamplingParams.builder(maxTokens)
                .temperature((float) options.sampling()
                        .temperature()
                        .orElse(defaults.temperature().orElse(1)))
                .topP((float) options.sampling().topP().orElse(defaults.topP().orElse(1)))
                .topK(Math.min(vocabSize, Math.max(0, topK.orElse(0))))
                .minP((float) options.sampling().minP().orElse(defaults.minP().orElse(0)))
                .repetitionPenalty((float) options.sampling()
                        .repetitionPenalty()
                        .orElse(defaults.repetitionPenalty().orElse(1)))
                .presencePenalty((float) options.sampling().presencePenalty())
                .frequencyPenalty((float) options.sampling().frequencyPenalty())
                .seed(seed)
                .minTokens(Math.min(options.stop().minTokens(), maxTokens))
                .ignoreEos(options.stop().ignoreEos())
                // ids that no token has can never be drawn
                .stopTokenIds(options.stop().tokenIds().stream()
                        .filter(id -> id >= 0 && id < vocabSize)
                        .toList())
                .logprobs(options.output().logprobs())
                .logitBias(biases(options.sampling().logitBias()))
                .build();
    }

    private Map<Integer, Float> biases(Map<Integer, Float> wanted) {
        List<Integer> outside = wanted.keySet().stream()
                .filter(id -> id < 0 || id >= vocabSize)
                .sorted()
                .toList();
        if (!outside.isEmpty()) {
            throw new ApiException(ApiError.badRequest(
                    "token_id(s) " + outside + " in logit_bias contain out-of-vocab token ids. Vocabulary size: "
                            + vocabSize,
                    "logit_bias"));
        }
        Map<Integer, Float> biases = new HashMap<>();
        wanted.forEach((id, bias) -> biases.put(id, Math.clamp(bias, -MAX_BIAS, MAX_BIAS)));
        return biases;
    }
}
