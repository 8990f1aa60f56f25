package dev.baton.grammar;

import java.util.ArrayList;
import java.util.List;

/// One grammar over one vocabulary: its nodes and their masks, shared by all matchers. Thread-safe.
final class CompiledGrammar {
    final TokenVocabulary vocabulary;
    final Automaton automaton;
    private final long maxBytes;
    private volatile NodeSpace space;

    /// @param maxBytes how much the nodes and masks may take before they are dropped and made anew
    CompiledGrammar(Automaton automaton, TokenVocabulary vocabulary, long maxBytes) {
        this.maxBytes = maxBytes;
        this.vocabulary = vocabulary;
        this.automaton = automaton;
        this.space = new NodeSpace(automaton);
    }

    /// About how much memory it takes: the rules, and what was worked out of them so far.
    long sizeBytes() {
        return automaton.sizeBytes() + space.sizeBytes();
    }

    /// The space to work in now. A matcher with nodes of another one moves over ([NodeSpace#adopt]).
    NodeSpace space() {
        NodeSpace now = space;
        if (now.sizeBytes() > maxBytes) {
            now = new NodeSpace(automaton);
            space = now;
        }
        return now;
    }

    /// The tokens below a node of the vocabulary's tree that can follow `node`, which is reached there, whoever
    /// called it.
    TokenMask mask(NodeSpace inSpace, Node node, int treeNode) {
        Node alike = inSpace.alike(node, vocabulary.maxTokenBytes());
        TokenMask known = alike.masks().get(treeNode);
        if (known != null) {
            return known;
        }
        Collector collector = new Collector(vocabulary);
        long[] mask = new long[vocabulary.maskWords()];
        collector.walk(inSpace, alike, treeNode, mask);
        TokenMask found = new TokenMask(mask, collector.treeNodes.toArray(), collector.rules.toArray(RuleSet[]::new));
        inSpace.addBytes(found.sizeBytes());
        alike.masks().put(treeNode, found);
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
