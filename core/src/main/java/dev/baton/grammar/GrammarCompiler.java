package dev.baton.grammar;

import java.util.LinkedHashMap;
import java.util.Map;

/// Grammars made ready for one vocabulary, remembered for the next request with the same source.
///
/// Thread-safe. Keeps the 64 grammars used last, each with at most about 64 MiB of masks and nodes, of which an
/// ordinary schema needs under one; what is over the limit is dropped and worked out anew. A grammar that would
/// need more for a single step is refused.
public final class GrammarCompiler {
    private static final int MAX_GRAMMARS = 64;
    private static final long MAX_BYTES = 64L << 20;

    private final TokenVocabulary vocabulary;
    private final Map<Grammar, CompiledGrammar> compiled = new LinkedHashMap<>(16, 0.75f, true);

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
        }
        if (ready == null) {
            ready = new CompiledGrammar(grammar.automaton(), vocabulary, MAX_BYTES);
            if (!new GrammarMatcher(ready).fillMask(new long[vocabulary.maskWords()])) {
                throw new GrammarException("no token of the model's vocabulary can begin what the grammar asks for");
            }
            synchronized (compiled) {
                compiled.put(grammar, ready);
                if (compiled.size() > MAX_GRAMMARS) {
                    compiled.remove(compiled.keySet().iterator().next());
                }
            }
        }
        return new GrammarMatcher(ready);
    }

    /// How many grammars are remembered.
    int size() {
        synchronized (compiled) {
            return compiled.size();
        }
    }
}
