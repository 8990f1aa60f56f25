package dev.baton.tokenizer;

import tools.jackson.databind.JsonNode;

/// How a tokenizer's tokens become text: the `decoder` of `tokenizer.json`. Immutable and thread-safe.
sealed interface TokenDecoder permits ByteLevelDecoder, SentencePieceDecoder {
    /// The state of one text in the making. One thread.
    interface Stream {
        /// Takes a token that is in the vocabulary and appends the text that it completes.
        void accept(int id, StringBuilder out);

        /// Appends what is held back, with U+FFFD for incomplete characters.
        void finish(StringBuilder out);
    }

    /// Begins a text.
    ///
    /// @param continuing whether text stands before it, so that the space before its first word belongs to it
    Stream stream(boolean continuing);

    /// The bytes that a token stands for.
    byte[] bytes(int id);

    /// Reads the `decoder` object of `tokenizer.json`.
    ///
    /// @throws TokenizerException naming the decoder where it is not supported
    static TokenDecoder from(JsonNode decoder, Vocabulary vocabulary) {
        String type = decoder.path("type").asString("");
        if (type.equals("Sequence")) {
            JsonNode steps = decoder.path("decoders");
            if (steps.size() == 1) {
                return from(steps.get(0), vocabulary);
            }
            return SentencePieceDecoder.fromSteps(steps, vocabulary);
        }
        return switch (type) {
            case "ByteLevel" -> new ByteLevelDecoder(vocabulary);
            case "Metaspace" -> SentencePieceDecoder.fromMetaspace(decoder, vocabulary);
            default ->
                throw new TokenizerException("the decoder '" + (type.isEmpty() ? "null" : type)
                        + "' is not supported; needed ByteLevel, Metaspace, or a Sequence of Replace, ByteFallback, Fuse"
                        + " and Strip");
        };
    }
}
