package dev.baton.tokenizer;

import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.function.UnaryOperator;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;

/// Decodes SentencePiece vocabularies (Llama 2, Mistral 7B, Gemma): words begin with U+2581, characters outside the
/// vocabulary are spelt as byte tokens like `<0xE2>`.
///
/// A run of byte tokens is text only if all of it is UTF-8, and else one U+FFFD per byte, so a stream holds the
/// whole run back until another token follows: that is how the Hugging Face `ByteFallback` decoder is defined.
final class SentencePieceDecoder implements TokenDecoder {
    private final String[] pieces; // (ids)
    private final short[] fallbackBytes; // (ids), -1 for a token that is not a byte
    private final int strippedSpaces;
    private final @Nullable String[] firstPieces; // (ids) of a Metaspace decoder, empty otherwise

    private SentencePieceDecoder(
            Vocabulary vocabulary,
            UnaryOperator<String> piece,
            boolean byteFallback,
            int strippedSpaces,
            @Nullable UnaryOperator<String> firstPiece) {
        int size = vocabulary.size();
        this.pieces = new String[size];
        this.fallbackBytes = new short[size];
        this.strippedSpaces = strippedSpaces;
        this.firstPieces = new @Nullable String[firstPiece == null ? 0 : size];
        for (int id = 0; id < size; id++) {
            String text = vocabulary.text(id);
            pieces[id] = text == null ? "" : piece.apply(text);
            fallbackBytes[id] = byteFallback ? fallbackByte(pieces[id]) : -1;
            if (firstPiece != null) {
                firstPieces[id] = text == null ? "" : firstPiece.apply(text);
            }
        }
    }

    /// `Sequence` of `Replace`, then `ByteFallback`, `Fuse` and `Strip`, each of which may be absent.
    static SentencePieceDecoder fromSteps(JsonNode steps, Vocabulary vocabulary) {
        UnaryOperator<String> piece = UnaryOperator.identity();
        List<String> order = List.of("Replace", "ByteFallback", "Fuse", "Strip");
        int reached = 0;
        boolean byteFallback = false;
        boolean fused = false;
        int strippedSpaces = 0;
        for (JsonNode step : steps) {
            String type = step.path("type").asString("");
            int position = order.indexOf(type);
            if (position < reached) {
                throw new TokenizerException("a Sequence decoder with '" + type + "' in this place is not supported;"
                        + " needed Replace, ByteFallback, Fuse, Strip in this order");
            }
            reached = position;
            switch (type) {
                case "Replace" -> piece = then(piece, replacement(step));
                case "ByteFallback" -> byteFallback = true;
                case "Fuse" -> fused = true;
                default -> strippedSpaces = strippedSpaces(step, fused);
            }
        }
        return new SentencePieceDecoder(vocabulary, piece, byteFallback, strippedSpaces, null);
    }

    private static UnaryOperator<String> then(UnaryOperator<String> first, UnaryOperator<String> second) {
        return text -> second.apply(first.apply(text));
    }

    private static UnaryOperator<String> replacement(JsonNode step) {
        JsonNode pattern = step.path("pattern").path("String");
        if (!pattern.isString() || pattern.asString().isEmpty()) {
            throw new TokenizerException("a Replace decoder with a regular expression is not supported");
        }
        return text -> text.replace(pattern.asString(), step.path("content").asString(""));
    }

    private static int strippedSpaces(JsonNode step, boolean fused) {
        if (!fused
                || step.path("stop").asInt(0) != 0
                || !step.path("content").asString("").equals(" ")) {
            throw new TokenizerException(
                    "a Strip decoder other than of spaces at the beginning, after Fuse, is not supported");
        }
        return step.path("start").asInt(0);
    }

    static SentencePieceDecoder fromMetaspace(JsonNode decoder, Vocabulary vocabulary) {
        String sign = decoder.path("replacement").asString("\u2581");
        String scheme = decoder.path("prepend_scheme")
                .asString(decoder.path("add_prefix_space").asBoolean(true) ? "always" : "never");
        UnaryOperator<String> piece = text -> text.replace(sign, " ");
        return new SentencePieceDecoder(
                vocabulary, piece, false, 0, scheme.equals("never") ? null : text -> text.replace(sign, ""));
    }

    private static short fallbackByte(String piece) {
        if (piece.length() == 6 && piece.startsWith("<0x") && piece.endsWith(">")) {
            int high = Character.digit(piece.charAt(3), 16);
            int low = Character.digit(piece.charAt(4), 16);
            return high < 0 || low < 0 ? -1 : (short) (high << 4 | low);
        }
        return -1;
    }

    @Override
    public byte[] bytes(int id) {
        return fallbackBytes[id] >= 0
                ? new byte[] {(byte) fallbackBytes[id]}
                : pieces[id].getBytes(StandardCharsets.UTF_8);
    }

    @Override
    public Stream stream(boolean continuing) {
        return new PieceStream(continuing);
    }

    private final class PieceStream implements Stream {
        private byte[] run = new byte[16];
        private int runLength;
        private int spacesToStrip;
        private boolean first;

        PieceStream(boolean continuing) {
            spacesToStrip = continuing ? 0 : strippedSpaces;
            first = !continuing;
        }

        @Override
        public void accept(int id, StringBuilder out) {
            if (fallbackBytes[id] >= 0) {
                if (runLength == run.length) {
                    run = Arrays.copyOf(run, 2 * runLength);
                }
                run[runLength++] = (byte) fallbackBytes[id];
            } else {
                finish(out);
                String firstPiece = first && id < firstPieces.length ? firstPieces[id] : null;
                append(firstPiece != null ? firstPiece : pieces[id], out);
            }
            first = false;
        }

        @Override
        public void finish(StringBuilder out) {
            if (runLength > 0) {
                append(runText(), out);
                runLength = 0;
            }
        }

        private String runText() {
            try {
                CharBuffer text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(run, 0, runLength));
                return text.toString();
            } catch (CharacterCodingException e) {
                return "\ufffd".repeat(runLength);
            }
        }

        private void append(String text, StringBuilder out) {
            int from = 0;
            while (spacesToStrip > 0 && from < text.length()) {
                if (text.charAt(from) == ' ') {
                    from++;
                    spacesToStrip--;
                } else {
                    spacesToStrip = 0;
                }
            }
            out.append(text, from, text.length());
        }
    }
}
