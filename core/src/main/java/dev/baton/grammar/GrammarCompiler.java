package dev.baton.grammar;

import java.util.LinkedHashMap;
import java.util.SequencedMap;

/// Grammars made ready for one vocabulary, remembered for the next request with the same source.
///
/// Thread-safe. Keeps the grammars used last: at most 64, and at most about 256 MiB of them, besides those in use.
/// Each has at most about 64 MiB of masks and nodes, of which an ordinary schema needs under one; what is over the
/// limit is dropped and worked out anew. A grammar that would need more for a single step is refused.
public final class GrammarCompiler {
    private static final int MAX_GRAMMARS = 64;
    private static final long MAX_BYTES = 64L << 20;
    private static final long MAX_BYTES_OF_ALL = 256L << 20;

    private final TokenVocabulary vocabulary;
    private final SequencedMap<Grammar, CompiledGrammar> compiled = new LinkedHashMap<>(16, 0.75f, true);

    /// @param vocabulary the tokens of the model whose logits the masks are for
    public GrammarCompiler(TokenVocabulary vocabulary) {
        this.vocabulary = vocabulary;
    }

    /// The vocabulary that masks are over.
    public TokenVocabulary vocabulary() {
        return vocabulary;
    }

    /// A matcher at the beginning of a text.
    ///
    /// The first call for a grammar works out which tokens a text can begin with, which takes milliseconds for a
    /// large vocabulary; call it on the request's thread, not on the engine's.
    ///
    /// @throws GrammarException if the grammar is too costly, or no token of the vocabulary can begin a text
    public GrammarMatcher matcher(Grammar grammar) {
        CompiledGrammar ready;
        synchronized (compiled) {
            ready = compiled.get(grammar);
            forgetEldest(); // those that are in use grow
        }
        if (ready == null) {
            ready = new CompiledGrammar(grammar.automaton(), vocabulary, MAX_BYTES);
            if (!new GrammarMatcher(ready).fillMask(new long[vocabulary.maskWords()])) {
                throw new GrammarException("no token of the model's vocabulary can begin what the grammar asks for");
            }
            synchronized (compiled) {
                compiled.put(grammar, ready);
                forgetEldest();
            }
        }
        return new GrammarMatcher(ready);
    }

    private void forgetEldest() {
        long bytes = sizeBytes();
        while (compiled.size() > 1 && (compiled.size() > MAX_GRAMMARS || bytes > MAX_BYTES_OF_ALL)) {
            CompiledGrammar eldest = compiled.pollFirstEntry().getValue();
            bytes -= eldest.sizeBytes();
        }
    }

    /// About how much memory the remembered grammars take.
    long sizeBytes() {
        synchronized (compiled) {
            return compiled.values().stream()
                    .mapToLong(CompiledGrammar::sizeBytes)
                    .sum();
        }
    }

    /// How many grammars are remembered.
    int size() {
        synchronized (compiled) {
            return compiled.size();
        }
    }
}
