package dev.baton.tokenizer.jinja;

import java.time.Clock;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// A compiled template. Immutable and thread-safe: every rendering has a state of its own.
///
/// The language's semantics follow Jinja 3.1 (jinja2's `lexer.py`, `parser.py`, `filters.py` and `tests.py`), as
/// `transformers` sets it up for chat templates.
public final class Template {
    private final List<Statement> statements;
    private final Map<String, Object> globals;

    private Template(List<Statement> statements, Map<String, Object> globals) {
        this.statements = statements;
        this.globals = globals;
    }

    /// Compiles a template.
    ///
    /// @param source the template's text
    /// @param clock what `strftime_now` reads, with its zone
    /// @throws JinjaException naming what is wrong or not supported, and its line
    public static Template compile(String source, Clock clock) {
        try {
            return new Template(Parser.parse(source), Globals.create(clock));
        } catch (StackOverflowError e) {
            throw new JinjaException("the template is nested too deeply");
        }
    }

    /// Renders the template.
    ///
    /// @param variables JSON-like values: maps, lists, strings, numbers, booleans and null; they are copied first
    /// @throws JinjaException when the template raises an error, or does what is not supported
    public String render(Map<String, ? extends @Nullable Object> variables) {
        Map<String, Object> context = new HashMap<>();
        variables.forEach((name, value) -> context.put(name, Values.fromJava(value)));
        Scope global = new Scope(null, globals);
        Scope given = new Scope(global, context);
        try {
            return new Evaluator(given).render(statements);
        } catch (StackOverflowError e) {
            throw new JinjaException("a macro calls itself too often");
        }
    }
}
