package dev.baton.grammar;

import java.util.ArrayList;
import java.util.List;

/// One grammar over one vocabulary: its nodes and their masks, shared by all matchers. Thread-safe.
final class CompiledGrammar {
    private static final long MAX_BYTES = 64L << 20;

    final TokenVocabulary vocabulary;
    final Automaton automaton;
    private volatile NodeSpace space;

    CompiledGrammar(Automaton automaton, TokenVocabulary vocabulary) {
        this.vocabulary = vocabulary;
        this.automaton = automaton;
        this.space = new NodeSpace(automaton);
    }

    /// The space to work in now. A matcher with nodes of another one moves over ([NodeSpace#adopt]).
    NodeSpace space() {
        NodeSpace now = space;
        if (now.sizeBytes() > MAX_BYTES) {
            now = new NodeSpace(automaton);
            space = now;
        }
        return now;
    }

    /// The mask of a node, by whoever called it.
    TokenMask mask(NodeSpace inSpace, Node node) {
        Node alike = inSpace.alike(node, vocabulary.maxTokenBytes());
        TokenMask known = alike.mask();
        if (known != null) {
            return known;
        }
        Collector collector = new Collector(vocabulary);
        long[] mask = new long[vocabulary.maskWords()];
        collector.walk(inSpace, alike, 0, mask);
        TokenMask found = new TokenMask(
                mask, collector.treeNodes.toArray(), collector.rules.toArray(RuleSet[]::new));
        inSpace.addBytes(found.sizeBytes());
        alike.learnMask(found);
        return found;
    }

    private static final class Collector extends TrieWalk {
        final IntBuffer treeNodes = new IntBuffer();
        final List<RuleSet> rules = new ArrayList<>();

        Collector(TokenVocabulary vocabulary) {
            super(vocabulary);
        }

        @Override
        void returned(NodeSpace space, int treeNode, RuleSet completed, long[] mask) {
            treeNodes.add(treeNode);
            rules.add(completed);
        }
    }
}
