package dev.baton.tokenizer.jinja;

/// One token of a template.
///
/// @param kind what it is
/// @param text its text: template data, a name, an operator's sign, or a literal's value as text
/// @param value a literal's value (`String`, `Long` or `Double`), else the text
/// @param line the template's line, from 1
record Token(Kind kind, String text, Object value, int line) {
    enum Kind {
        DATA,
        VARIABLE_BEGIN,
        VARIABLE_END,
        BLOCK_BEGIN,
        BLOCK_END,
        NAME,
        STRING,
        INTEGER,
        FLOAT,
        OPERATOR,
        END
    }

    boolean isName(String name) {
        return kind == Kind.NAME && text.equals(name);
    }

    boolean isOperator(String sign) {
        return kind == Kind.OPERATOR && text.equals(sign);
    }

    String describe() {
        return switch (kind) {
            case DATA -> "template text";
            case VARIABLE_BEGIN, VARIABLE_END, BLOCK_BEGIN, BLOCK_END, NAME, INTEGER, FLOAT, OPERATOR ->
                "'" + text + "'";
            case STRING -> "a string";
            case END -> "the end of the template";
        };
    }
}
