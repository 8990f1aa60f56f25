package dev.baton.tokenizer;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;

/// A second spelling for each special token, one that nobody can write. A text whose trusted special tokens are
/// spelt so, and no others, goes through the tokenizer as a whole, with the same cuts, normalisation and spaces
/// around them as ever. Immutable and thread-safe.
final class SpecialSpellings {
    private final Map<String, String> spellings; // special tokens only
    private final Map<Character, List<AddedToken>> byFirst; // longest first, as the native library matches
    private final int longest;

    /// A token of `added_tokens`.
    record AddedToken(String content, boolean special, boolean singleWord) {}

    private SpecialSpellings(Map<String, String> spellings, Map<Character, List<AddedToken>> byFirst) {
        this.spellings = spellings;
        this.byFirst = byFirst;
        this.longest =
                spellings.keySet().stream().mapToInt(String::length).max().orElse(0);
    }

    static SpecialSpellings of(List<AddedToken> tokens) {
        Map<String, String> spellings = new HashMap<>();
        Map<Character, List<AddedToken>> byFirst = new HashMap<>();
        for (AddedToken token : tokens) {
            if (token.content().isEmpty()) {
                continue;
            }
            byFirst.computeIfAbsent(token.content().charAt(0), c -> new ArrayList<>())
                    .add(token);
            if (token.special()) {
                spellings.put(token.content(), "\0" + UUID.randomUUID() + "\0");
            }
        }
        byFirst.values()
                .forEach(list -> list.sort(
                        Comparator.comparingInt((AddedToken t) -> t.content().length())
                                .reversed()));
        return new SpecialSpellings(Map.copyOf(spellings), Map.copyOf(byFirst));
    }

    boolean isSpecial(String token) {
        return spellings.containsKey(token);
    }

    /// The second spelling of a special token; any other token is itself.
    String spelling(String token) {
        return spellings.getOrDefault(token, token);
    }

    /// Marks the special tokens in a text from outside: `open` before and `close` behind each, and `close` behind a
    /// beginning of one that ends the text (also if a template cuts spaces off), lest other text complete it.
    ///
    /// @return the same text if there is nothing to mark
    String mark(String text, char open, char close) {
        int end = text.stripTrailing().length();
        StringBuilder marked = new StringBuilder();
        int copied = 0;
        for (int at = 0; at < text.length(); ) {
            Optional<String> token = specialAt(text, at);
            if (token.isPresent()) {
                marked.append(text, copied, at).append(open).append(token.get()).append(close);
                at += token.get().length();
                copied = at;
            } else {
                at++;
            }
        }
        if (isBeginning(text, end)) {
            marked.append(text, copied, Math.max(copied, end)).append(close);
            copied = Math.max(copied, end);
        }
        marked.append(text, copied, text.length());
        if (end < text.length() && isBeginning(text, text.length())) {
            marked.append(close);
        }
        return marked.length() == text.length() ? text : marked.toString();
    }

    private Optional<String> specialAt(String text, int at) {
        return byFirst.getOrDefault(text.charAt(at), List.of()).stream()
                .filter(token -> token.special() && text.startsWith(token.content(), at))
                .map(AddedToken::content)
                .findFirst();
    }

    /// Whether the text up to `end` ends with the beginning of a special token.
    private boolean isBeginning(String text, int end) {
        for (int at = Math.max(0, end - longest); at < end; at++) {
            for (AddedToken token : byFirst.getOrDefault(text.charAt(at), List.of())) {
                int length = end - at;
                if (token.special()
                        && length < token.content().length()
                        && text.regionMatches(at, token.content(), 0, length)) {
                    return true;
                }
            }
        }
        return false;
    }

    /// Spells the special tokens in a text anew, except those between marks; drops the marks.
    String respell(String text, char open, char close) {
        StringBuilder out = new StringBuilder(text.length() + 64);
        int at = 0;
        while (at < text.length()) {
            char next = text.charAt(at);
            if (next == open) {
                String token = markedAt(text, at + 1, close);
                out.append(token);
                at += 1 + token.length();
                continue;
            }
            if (next == close) {
                at++;
                continue;
            }
            Optional<AddedToken> token = tokenAt(text, at);
            if (token.isEmpty()) {
                out.append(next);
                at++;
            } else {
                String content = token.get().content();
                out.append(spelling(content));
                at += content.length();
            }
        }
        return out.toString();
    }

    /// The special token between an opening mark and a closing one; empty if a template has parted them.
    private String markedAt(String text, int at, char close) {
        if (at < text.length()) {
            for (AddedToken token : byFirst.getOrDefault(text.charAt(at), List.of())) {
                int end = at + token.content().length();
                if (end < text.length() && text.charAt(end) == close && text.startsWith(token.content(), at)) {
                    return token.content();
                }
            }
        }
        return "";
    }

    private Optional<AddedToken> tokenAt(String text, int at) {
        for (AddedToken token : byFirst.getOrDefault(text.charAt(at), List.of())) {
            if (text.startsWith(token.content(), at)) {
                boolean whole = !token.singleWord()
                        || (!isWordCharacter(text, at - 1)
                                && !isWordCharacter(text, at + token.content().length()));
                return whole ? Optional.of(token) : Optional.empty();
            }
        }
        return Optional.empty();
    }

    private static boolean isWordCharacter(String text, int at) {
        return at >= 0 && at < text.length() && (Character.isLetterOrDigit(text.charAt(at)) || text.charAt(at) == '_');
    }
}
