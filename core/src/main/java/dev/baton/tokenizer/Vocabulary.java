package dev.baton.tokenizer;

import java.util.BitSet;
import java.util.HashMap;
import java.util.Map;
import java.util.OptionalInt;
import org.jspecify.annotations.Nullable;

/// All tokens of a tokenizer by id, as `tokenizer.json` spells them. Immutable.
final class Vocabulary {
    private final @Nullable String[] texts; // (ids), null where an id has no token
    private final BitSet special;
    private final Map<String, Integer> ids;

    private Vocabulary(@Nullable String[] texts, BitSet special, Map<String, Integer> ids) {
        this.texts = texts;
        this.special = special;
        this.ids = ids;
    }

    /// One more than the highest id.
    int size() {
        return texts.length;
    }

    /// The token's spelling, or null where there is no such token.
    @Nullable
    String text(int id) {
        return id >= 0 && id < texts.length ? texts[id] : null;
    }

    boolean isSpecial(int id) {
        return id >= 0 && special.get(id);
    }

    OptionalInt id(@Nullable String text) {
        Integer id = text == null ? null : ids.get(text);
        return id == null ? OptionalInt.empty() : OptionalInt.of(id);
    }

    /// Collects tokens; a later one takes an earlier one's id.
    static final class Builder {
        private final Map<Integer, String> texts = new HashMap<>();
        private final Map<String, Integer> ids = new HashMap<>();
        private final BitSet special = new BitSet();
        private int size;

        void add(int id, String text, boolean isSpecial) {
            if (id < 0) {
                throw new TokenizerException("token '" + text + "' has the negative id " + id);
            }
            texts.put(id, text);
            ids.put(text, id);
            special.set(id, isSpecial);
            size = Math.max(size, id + 1);
        }

        Vocabulary build() {
            @Nullable String[] byId = new @Nullable String[size];
            texts.forEach((id, text) -> byId[id] = text);
            return new Vocabulary(byId, special, Map.copyOf(ids));
        }
    }
}
