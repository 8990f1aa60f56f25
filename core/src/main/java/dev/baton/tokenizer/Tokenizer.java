package dev.baton.tokenizer;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import org.jspecify.annotations.Nullable;

/// A model's tokenizer: text to token ids and back, as Hugging Face `transformers` does it for the same folder.
///
/// Encoding is the native Hugging Face library's (through DJL), from `tokenizer.json`; decoding is Baton's own,
/// from the vocabulary in that file, because text that is streamed must hold back incomplete characters.
/// Supported decoders are byte-level BPE and SentencePiece with byte fallback; another one is refused at
/// loading.
///
/// Thread-safe. Owns native memory until [#close].
public final class Tokenizer implements AutoCloseable {
    private final Vocabulary vocabulary;
    private final TokenDecoder decoder;
    private final Map<String, String> specialTokens;
    private final Optional<ChatTemplate> chatTemplate;
    private final NativeTokenizer encoder;
    private final SpecialSpellings spellings;
    private final Object splittingLock = new Object();
    private @Nullable String splittingJson;
    private @Nullable NativeTokenizer splittingEncoder;

    private Tokenizer(TokenizerFile file, TokenizerConfig config, Optional<ChatTemplate> chatTemplate) {
        this.vocabulary = file.vocabulary();
        this.decoder = file.decoder(vocabulary);
        this.specialTokens = config.specialTokens();
        this.chatTemplate = chatTemplate;
        this.spellings = file.spellings();
        this.splittingJson = file.json(spellings);
        this.encoder = new NativeTokenizer(file.json());
    }

    /// Loads the tokenizer of a model folder: `tokenizer.json`, and where they are there `tokenizer_config.json`,
    /// `chat_template.jinja` (which goes before the template in the configuration) and `additional_chat_templates`.
    ///
    /// The first use on a machine unpacks a native library of 15 MB to the user's cache folder, or to
    /// `DJL_CACHE_DIR`. Nothing is fetched from the network.
    ///
    /// @throws TokenizerException with the file that is missing or what in it is not supported
    public static Tokenizer load(Path modelDirectory) {
        return load(modelDirectory, Optional.empty());
    }

    /// The same, with another chat template than the folder's.
    ///
    /// @param jinja the template's text; empty: the folder's
    /// @throws TokenizerException also if the template cannot be compiled
    public static Tokenizer load(Path modelDirectory, Optional<String> jinja) {
        if (!Files.isDirectory(modelDirectory)) {
            throw new TokenizerException("the model folder " + modelDirectory + " does not exist");
        }
        TokenizerConfig config = TokenizerConfig.read(modelDirectory);
        TokenizerFile file = TokenizerFile.read(modelDirectory, config);
        Optional<ChatTemplate> chatTemplate;
        try {
            chatTemplate = jinja.isPresent()
                    ? Optional.of(ChatTemplate.compile(jinja.get(), config.specialTokens()))
                    : ChatTemplate.fromVariants(config.chatTemplates(), config.specialTokens());
        } catch (ChatTemplateException e) {
            String source = jinja.isPresent() ? "--chat-template" : modelDirectory.toString();
            throw new TokenizerException(source + ": " + e.getMessage(), e);
        }
        try {
            return new Tokenizer(file, config, chatTemplate);
        } catch (TokenizerException e) {
            throw e;
        } catch (RuntimeException e) {
            throw new TokenizerException(
                    modelDirectory.resolve("tokenizer.json") + " was refused by the tokenizers library: "
                            + e.getMessage(),
                    e);
        }
    }

    /// Encodes `text` without truncation or padding; special tokens that are written in it become those tokens.
    ///
    /// @param addSpecialTokens whether to add what the model expects around a text, usually a BOS token
    public int[] encode(String text, boolean addSpecialTokens) {
        return encode(text, addSpecialTokens, false);
    }

    /// Encodes `text` without truncation or padding.
    ///
    /// A lone surrogate, which is no character, is encoded as U+FFFD.
    ///
    /// @param addSpecialTokens whether to add what the model expects around a text, usually a BOS token
    /// @param splitSpecialTokens whether special tokens written in the text stay ordinary text, so that a text
    ///     from outside cannot forge the end of a turn; equals `split_special_tokens` of `transformers`. The
    ///     first such call builds a second native tokenizer
    public int[] encode(String text, boolean addSpecialTokens, boolean splitSpecialTokens) {
        NativeTokenizer used = splitSpecialTokens ? splittingEncoder() : encoder;
        return used.encode(withoutLoneSurrogates(text), addSpecialTokens);
    }

    /// Begins a conversation whose texts come from outside: all strings in `values` (JSON-like: maps, lists,
    /// strings) are looked through.
    public SpecialTokenGuard guard(List<?> values) {
        return SpecialTokenGuard.of(spellings, values);
    }

    /// Encodes what a chat template made of a conversation that `guard` marked: the template's special tokens are
    /// special, the request's are ordinary text.
    ///
    /// @param addSpecialTokens whether to add what the model expects around a text, usually a BOS token
    public int[] encode(String rendered, SpecialTokenGuard guard, boolean addSpecialTokens) {
        return guard.isNeeded()
                ? encode(guard.respell(rendered), addSpecialTokens, true)
                : encode(rendered, addSpecialTokens);
    }

    private NativeTokenizer splittingEncoder() {
        synchronized (splittingLock) {
            NativeTokenizer existing = splittingEncoder;
            if (existing != null) {
                return existing;
            }
            String json = splittingJson;
            if (json == null) {
                throw new TokenizerException("the tokenizer is closed");
            }
            NativeTokenizer created = new NativeTokenizer(json);
            splittingEncoder = created;
            splittingJson = null;
            return created;
        }
    }

    private static String withoutLoneSurrogates(String text) {
        for (int at = 0; at < text.length(); at++) {
            if (Character.isSurrogate(text.charAt(at))) {
                int codePoint = text.codePointAt(at);
                if (codePoint < Character.MIN_SUPPLEMENTARY_CODE_POINT) {
                    return text.codePoints()
                            .map(c -> c >= Character.MIN_SURROGATE && c <= Character.MAX_SURROGATE ? 0xfffd : c)
                            .collect(StringBuilder::new, StringBuilder::appendCodePoint, StringBuilder::append)
                            .toString();
                }
                at = text.offsetByCodePoints(at, 1) - 1;
            }
        }
        return text;
    }

    /// Decodes `ids` as a whole, as `transformers` does with `clean_up_tokenization_spaces=False`. Ids without
    /// a token add nothing.
    public String decode(int[] ids, boolean skipSpecialTokens) {
        IncrementalDetokenizer detokenizer = detokenizer(skipSpecialTokens);
        StringBuilder text = new StringBuilder(4 * ids.length);
        for (int id : ids) {
            detokenizer.accept(id, text);
        }
        detokenizer.finish(text);
        return text.toString();
    }

    /// The text of one token on its own, as logprobs show it; bytes that are no character by themselves are U+FFFD.
    public String tokenText(int id) {
        return decode(new int[] {id}, false);
    }

    /// A token as the vocabulary writes it, for example `Ġquick`; empty for an id without a token.
    public String tokenPiece(int id) {
        String piece = vocabulary.text(id);
        return piece == null ? "" : piece;
    }

    /// The bytes that a token stands for; empty for a special token and for an id without a token.
    public byte[] tokenBytes(int id) {
        return vocabulary.text(id) == null || vocabulary.isSpecial(id) ? new byte[0] : decoder.bytes(id);
    }

    /// Whether `id` is a special token, such as BOS.
    public boolean isSpecial(int id) {
        return vocabulary.isSpecial(id);
    }

    /// One more than the highest token id. The model's own `vocab_size` may be padded beyond it.
    public int vocabularySize() {
        return vocabulary.size();
    }

    /// The id of `bos_token`, where `tokenizer_config.json` names one.
    public OptionalInt bosTokenId() {
        return vocabulary.id(specialTokens.get("bos_token"));
    }

    /// The id of `eos_token`, where `tokenizer_config.json` names one. `generation_config.json` may name more.
    public OptionalInt eosTokenId() {
        return vocabulary.id(specialTokens.get("eos_token"));
    }

    /// The model's chat template, where it has one.
    public Optional<ChatTemplate> chatTemplate() {
        return chatTemplate;
    }

    /// Begins the text of one request, whose whole equals [#decode].
    public IncrementalDetokenizer detokenizer(boolean skipSpecialTokens) {
        return detokenizer(skipSpecialTokens, false);
    }

    /// Begins the text of one request.
    ///
    /// @param continuing whether the text continues a prompt: with a SentencePiece vocabulary the space before
    ///     its first word is kept then, which [#decode] strips; nothing changes for byte-level BPE
    public IncrementalDetokenizer detokenizer(boolean skipSpecialTokens, boolean continuing) {
        return new IncrementalDetokenizer(vocabulary, decoder.stream(continuing), skipSpecialTokens);
    }

    @Override
    public void close() {
        encoder.close();
        synchronized (splittingLock) {
            splittingJson = null;
            if (splittingEncoder != null) {
                splittingEncoder.close();
            }
        }
    }
}
