package dev.baton.tokenizer;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/// Keeps special tokens that a request writes in its texts from becoming special in the prompt that a chat template
/// makes of them: a user who writes `<|im_end|>` ends no turn.
///
/// The request's texts get marks (noncharacters that occur in none of them) around each special token, and
/// where the beginning of one ends a text; the template copies them along; and [Tokenizer#encode(String,
/// SpecialTokenGuard, boolean)] takes what is marked as ordinary text. Special tokens without marks are the
/// template's own. One for each conversation, from [Tokenizer#guard]. Immutable and thread-safe.
public final class SpecialTokenGuard {
    /// Unicode's noncharacters, then the private use area.
    private static final int[][] CANDIDATES = {{0xfdd0, 0xfdef}, {0xe000, 0xf8ff}};

    private final SpecialSpellings spellings;
    private final Optional<Marks> marks;

    private record Marks(char open, char close) {}

    private SpecialTokenGuard(SpecialSpellings spellings, Optional<Marks> marks) {
        this.spellings = spellings;
        this.marks = marks;
    }

    static SpecialTokenGuard of(SpecialSpellings spellings, List<?> values) {
        List<String> texts = new ArrayList<>();
        collect(values, texts);
        boolean needed =
                texts.stream().anyMatch(text -> spellings.mark(text, '\0', '\0').length() > text.length());
        return new SpecialTokenGuard(spellings, needed ? Optional.of(unused(texts)) : Optional.empty());
    }

    private static void collect(@Nullable Object value, List<String> texts) {
        switch (value) {
            case String text -> texts.add(text);
            case List<?> list -> list.forEach(item -> collect(item, texts));
            case Map<?, ?> map ->
                map.forEach((key, item) -> {
                    collect(key, texts);
                    collect(item, texts);
                });
            case null, default -> {}
        }
    }

    private static Marks unused(List<String> texts) {
        BitSet used = new BitSet(0x10000);
        texts.forEach(text -> text.chars().forEach(used::set));
        int[] found = Arrays.stream(CANDIDATES)
                .flatMapToInt(range -> IntStream.rangeClosed(range[0], range[1]))
                .filter(candidate -> !used.get(candidate))
                .limit(2)
                .toArray();
        if (found.length < 2) {
            throw new ChatTemplateException(
                    "the conversation holds special tokens and every character that could mark them");
        }
        return new Marks((char) found[0], (char) found[1]);
    }

    boolean isNeeded() {
        return marks.isPresent();
    }

    /// The text with special tokens spelt anew where they are the template's, and without marks.
    String respell(String rendered) {
        return marks.map(m -> spellings.respell(rendered, m.open(), m.close())).orElse(rendered);
    }

    /// The messages of the conversation, marked.
    public List<Map<String, Object>> mark(List<Map<String, Object>> messages) {
        return marks.isEmpty() ? messages : messages.stream().map(this::mark).toList();
    }

    /// A map of JSON-like values, marked; the keys of the map itself are not.
    public Map<String, Object> mark(Map<String, Object> fields) {
        if (marks.isEmpty()) {
            return fields;
        }
        Map<String, @Nullable Object> marked = new LinkedHashMap<>();
        fields.forEach((key, value) -> marked.put(key, markValue(value)));
        return marked;
    }

    /// One text of the conversation, marked.
    public String mark(String text) {
        return marks.map(m -> spellings.mark(text, m.open(), m.close())).orElse(text);
    }

    private @Nullable Object markValue(@Nullable Object value) {
        return switch (value) {
            case String text -> mark(text);
            case List<?> list -> list.stream().map(this::markValue).toList();
            case Map<?, ?> map -> {
                Map<@Nullable Object, @Nullable Object> marked = new LinkedHashMap<>();
                map.forEach((key, item) -> marked.put(markValue(key), markValue(item)));
                yield marked;
            }
            case null, default -> value;
        };
    }

    /// A rendered text as people read it, without marks.
    public String withoutMarks(String rendered) {
        return marks.map(m ->
                        rendered.replace(Character.toString(m.open()), "").replace(Character.toString(m.close()), ""))
                .orElse(rendered);
    }
}
