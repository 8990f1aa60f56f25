package dev.baton.grammar;

/// Reads Lark grammars.
final class LarkParser {
    private LarkParser() {}

    static boolean isLikelyLark(String text) {
        return false;
    }

    @SuppressWarnings("DoNotCallSuggester")
    static Expr parse(String text) {
        throw new GrammarException("Lark grammars are not supported; write EBNF with 'root ::= ...'");
    }
}
