package dev.baton.serving;

import dev.baton.openai.ApiError;
import dev.baton.openai.ApiException;
import dev.baton.openai.ChatInput;
import dev.baton.openai.GenerationOptions;
import dev.baton.openai.Prompt;
import dev.baton.tokenizer.ChatTemplate;
import dev.baton.tokenizer.ChatTemplateException;
import dev.baton.tokenizer.SpecialTokenGuard;
import dev.baton.tokenizer.Tokenizer;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;

/// Turns the prompts of requests into token ids within the context. Thread-safe; tokenising takes long, so not for
/// event loops.
final class Prompts {
    private final Tokenizer tokenizer;
    private final int maxModelLen;
    private final int vocabSize;
    private final int maxTokenBytes;

    Prompts(Tokenizer tokenizer, int maxModelLen, int vocabSize) {
        this.tokenizer = tokenizer;
        this.maxModelLen = maxModelLen;
        this.vocabSize = vocabSize;
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
        int[] kept = fit(ids, options);
        // With the prompt's tokens in the answer, vLLM does not repeat its text.
        if (!options.output().echo() || options.output().returnTokenIds()) {
            return new EncodedPrompt(kept, "", options.output().echo());
        }
        boolean whole = kept.length == ids.length;
        String echo = prompt instanceof Prompt.Text(String text) && whole ? text : tokenizer.decode(kept, false);
        return new EncodedPrompt(kept, echo, true);
    }

    /// The tokens of a conversation. Special tokens that its texts spell are ordinary text, the template's are
    /// special.
    ///
    /// @param echo the text that is repeated before the answer
    EncodedPrompt encode(ChatInput chat, String echo, GenerationOptions options) {
        SpecialTokenGuard guard = guard(chat);
        String rendered = render(chat, guard);
        requireRoom(guard.withoutMarks(rendered), options);
        int[] ids = tokenizer.encode(rendered, guard, options.prompt().addSpecialTokens());
        return new EncodedPrompt(fit(ids, options), echo, false);
    }

    /// What the chat template makes of a conversation.
    String text(ChatInput chat) {
        SpecialTokenGuard guard = guard(chat);
        return guard.withoutMarks(render(chat, guard));
    }

    /// The tokens of a conversation whatever their number.
    int[] encode(ChatInput chat, boolean addSpecialTokens) {
        SpecialTokenGuard guard = guard(chat);
        return tokenizer.encode(render(chat, guard), guard, addSpecialTokens);
    }

    private SpecialTokenGuard guard(ChatInput chat) {
        return tokenizer.guard(List.of(chat.messages(), chat.templateFields()));
    }

    private int[] encode(String text, boolean addSpecialTokens, GenerationOptions options) {
        requireRoom(text, options);
        return tokenizer.encode(text, addSpecialTokens);
    }

    /// A text that cannot fit, whatever its tokens are, is not worth the time that tokenising would take.
    private void requireRoom(String text, GenerationOptions options) {
        long atLeast = (text.length() + (long) maxTokenBytes - 1) / maxTokenBytes;
        if (atLeast > maxModelLen && options.prompt().truncatePromptTokens().isEmpty()) {
            throw tooLong("at least " + atLeast, atLeast);
        }
    }

    /// The text that the model's chat template makes of a conversation, with the guard's marks.
    private String render(ChatInput chat, SpecialTokenGuard guard) {
        ChatTemplate template = tokenizer
                .chatTemplate()
                .orElseThrow(() -> new ApiException(ApiError.badRequest(
                        "The model has no chat template, so it takes completions only: its tokenizer_config.json"
                                + " names no chat_template.")));
        String text;
        try {
            text = template.render(
                    guard.mark(chat.messages()), chat.addGenerationPrompt(), guard.mark(chat.templateFields()));
        } catch (ChatTemplateException e) {
            throw new ApiException(ApiError.badRequest(String.valueOf(e.getMessage())));
        }
        return chat.continueFinalMessage() ? cutAfterFinalMessage(text, chat, guard) : text;
    }

    /// Leaves the last message open: what the template writes after its content is dropped.
    private static String cutAfterFinalMessage(String text, ChatInput chat, SpecialTokenGuard guard) {
        String content = guard.mark(String.valueOf(chat.messages().getLast().get("content")))
                .strip();
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
            kept = ids.length > most
                    ? cut(ids, Math.max(1, most), options.prompt().keepFirst())
                    : ids;
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

    private static int[] cut(int[] ids, int length, boolean keepFirst) {
        return keepFirst ? Arrays.copyOf(ids, length) : Arrays.copyOfRange(ids, ids.length - length, ids.length);
    }

    private ApiException tooLong(String count, long value) {
        return new ApiException(ApiError.badParameter(
                "This model's maximum context length is " + maxModelLen + " tokens. However, your prompt contains "
                        + count + " input tokens, which exceeds this limit even without any output tokens."
                        + " Please reduce the length of the input prompt.",
                "input_tokens",
                value));
    }
}
