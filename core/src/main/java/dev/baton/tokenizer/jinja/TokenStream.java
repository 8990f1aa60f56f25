package dev.baton.tokenizer.jinja;

import dev.baton.tokenizer.jinja.Token.Kind;
import java.util.List;

/// A template's tokens with a position. One thread.
final class TokenStream {
    private final List<Token> tokens;
    private int position;

    TokenStream(List<Token> tokens) {
        this.tokens = tokens;
    }

    Token peek() {
        return tokens.get(position);
    }

    Token peekSecond() {
        return tokens.get(Math.min(position + 1, tokens.size() - 1));
    }

    int line() {
        return peek().line();
    }

    /// The next token; the last one, END, again and again.
    Token next() {
        Token token = tokens.get(position);
        if (token.kind() != Kind.END) {
            position++;
        }
        return token;
    }

    boolean skipName(String name) {
        return skip(peek().isName(name));
    }

    boolean skipOperator(String sign) {
        return skip(peek().isOperator(sign));
    }

    private boolean skip(boolean matches) {
        if (matches) {
            position++;
        }
        return matches;
    }

    Token expect(Kind kind, String needed) {
        Token token = next();
        if (token.kind() != kind) {
            throw new JinjaException("needed " + needed + ", got " + token.describe(), token.line());
        }
        return token;
    }

    void expectOperator(String sign) {
        Token token = next();
        if (!token.isOperator(sign)) {
            throw new JinjaException("needed '" + sign + "', got " + token.describe(), token.line());
        }
    }

    void expectName(String name) {
        Token token = next();
        if (!token.isName(name)) {
            throw new JinjaException("needed '" + name + "', got " + token.describe(), token.line());
        }
    }
}
