package dev.baton.serving;

import dev.baton.tokenizer.Tokenizer;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import tools.jackson.databind.ObjectMapper;

/// A tokenizer with one token a byte, so that every character beyond ASCII spans several tokens: ids 0 and 1 are
/// special (begin, end), id `2 + b` is byte `b`. The chat template writes `role: content;` for each message.
final class ByteTokenizer {
    static final int BEGIN = 0;
    static final int END = 1;
    static final int VOCAB = 258;

    private static final String TEMPLATE =
            "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }};"
                    + "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}";

    private ByteTokenizer() {}

    static int idOf(byte b) {
        return 2 + (b & 0xff);
    }

    static int[] ids(String text) {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        int[] ids = new int[bytes.length];
        for (int i = 0; i < bytes.length; i++) {
            ids[i] = idOf(bytes[i]);
        }
        return ids;
    }

    static Tokenizer load(Path directory) {
        Map<String, Object> vocabulary = new LinkedHashMap<>();
        vocabulary.put("<begin>", BEGIN);
        vocabulary.put("<end>", END);
        int extra = 0;
        for (int b = 0; b < 256; b++) {
            boolean printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
            vocabulary.put(Character.toString(printable ? b : 256 + extra++), 2 + b);
        }
        Map<String, Object> byteLevel =
                Map.of("type", "ByteLevel", "add_prefix_space", false, "trim_offsets", true, "use_regex", false);
        Map<String, Object> file = new LinkedHashMap<>();
        file.put("version", "1.0");
        file.put("added_tokens", List.of(special(BEGIN, "<begin>"), special(END, "<end>")));
        file.put("pre_tokenizer", byteLevel);
        file.put("decoder", byteLevel);
        file.put("model", Map.of("type", "BPE", "vocab", vocabulary, "merges", List.of()));
        try {
            write(directory.resolve("tokenizer.json"), file);
            write(
                    directory.resolve("tokenizer_config.json"),
                    Map.of("bos_token", "<begin>", "eos_token", "<end>", "chat_template", TEMPLATE));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return Tokenizer.load(directory);
    }

    private static Map<String, Object> special(int id, String content) {
        return Map.of(
                "id", id,
                "content", content,
                "single_word", false,
                "lstrip", false,
                "rstrip", false,
                "normalized", false,
                "special", true);
    }

    private static void write(Path file, Object json) throws IOException {
        Files.write(file, new ObjectMapper().writeValueAsBytes(json));
    }
}
