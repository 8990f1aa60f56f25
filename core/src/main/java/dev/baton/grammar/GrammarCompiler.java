package dev.baton.grammar;

import java.util.LinkedHashMap;
import java.util.SequencedMap;
import java.util.concurrent.Semaphore;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/// Grammars made ready for one vocabulary, remembered for the next request with the same source.
///
/// Thread-safe. Keeps the grammars used last: at most 64, and at most about 256 MiB of them, besides those in use.
/// Each has at most about 64 MiB of masks and nodes, of which an ordinary schema needs under one; what is over the
/// limit is dropped and worked out anew. A grammar that would need more for a single step is refused.
public final class GrammarCompiler {
    private static final int MAX_GRAMMARS = 64;
    private static final long MAX_BYTES = 64L << 20;
    private static final long MAX_BYTES_OF_ALL = 256L << 20;

    /// Grammars that are read and compiled at a time; each may take some hundred MiB meanwhile.
    private static final int MAX_CONCURRENT = 4;

    private final TokenVocabulary vocabulary;
    private final Semaphore permits = new Semaphore(MAX_CONCURRENT);
    private final SequencedMap<Object, CompiledGrammar> compiled = new LinkedHashMap<>(16, 0.75f, true);

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
        return matcher(grammar, () -> grammar);
    }

    /// As [#matcher(Grammar)], for a grammar that need not be read again if it is remembered. Waits while others
    /// compile, of which a few do at a time.
    ///
    /// @param source what the grammar is read from; where it is equal, the grammars are
    /// @param grammar reads it
    /// @throws GrammarException that `grammar` throws, or as with [#matcher(Grammar)]
    public GrammarMatcher matcher(Object source, Supplier<Grammar> grammar) {
        CompiledGrammar ready = remembered(source);
        if (ready == null) {
            permits.acquireUninterruptibly();
            try {
                ready = remembered(source); // another may have been faster
                if (ready == null) {
                    ready = compile(grammar.get());
                    synchronized (compiled) {
                        compiled.put(source, ready);
                        forgetEldest();
                    }
                }
            } finally {
                permits.release();
            }
        }
        return new GrammarMatcher(ready);
    }

    private @Nullable CompiledGrammar remembered(Object source) {
        synchronized (compiled) {
            CompiledGrammar known = compiled.get(source);
            forgetEldest(); // those that are in use grow
            return known;
        }
    }

    private CompiledGrammar compile(Grammar grammar) {
        CompiledGrammar ready = new CompiledGrammar(grammar.automaton(), vocabulary, MAX_BYTES);
        if (!new GrammarMatcher(ready).fillMask(new long[vocabulary.maskWords()])) {
            throw new GrammarException("no token of the model's vocabulary can begin what the grammar asks for");
        }
        return ready;
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
