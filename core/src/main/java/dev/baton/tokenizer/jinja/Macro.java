package dev.baton.tokenizer.jinja;

import dev.baton.tokenizer.jinja.Statement.Parameter;
import dev.baton.tokenizer.jinja.Statement.Signature;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// A macro with the scope that it was defined in; calling it gives the text that it prints.
final class Macro implements Callable {
    private final Signature signature;
    private final Scope definedIn;
    private final Evaluator evaluator;

    Macro(Signature signature, Scope definedIn, Evaluator evaluator) {
        this.signature = signature;
        this.definedIn = definedIn;
        this.evaluator = evaluator;
    }

    @Nullable
    Object attribute(String name) {
        return name.equals("name") ? signature.name() : null;
    }

    @Override
    public Object call(Arguments arguments) {
        Scope scope = new Scope(definedIn);
        Map<Object, Object> surplusNamed = new LinkedHashMap<>(arguments.named());
        List<Parameter> parameters = signature.parameters();
        for (int i = 0; i < parameters.size(); i++) {
            Parameter parameter = parameters.get(i);
            Object named = surplusNamed.remove(parameter.name());
            boolean positional = i < arguments.positional().size();
            if (positional && named != null) {
                throw new JinjaException(
                        "macro '" + signature.name() + "' got two values for '" + parameter.name() + "'");
            }
            Object value = positional ? arguments.positional().get(i) : named;
            scope.set(parameter.name(), value != null ? value : fallback(parameter, scope));
        }
        Object caller = surplusNamed.remove("caller");
        if (caller != null && !signature.takesCaller()) {
            throw new JinjaException("macro '" + signature.name() + "' takes no caller");
        }
        if (signature.takesCaller()) {
            scope.set("caller", caller != null ? caller : new Undefined("No caller defined"));
        }
        List<Object> surplus = new ArrayList<>(arguments
                .positional()
                .subList(
                        Math.min(parameters.size(), arguments.positional().size()),
                        arguments.positional().size()));
        takeSurplus(scope, surplus, surplusNamed);
        return evaluator.capture(signature.body(), scope);
    }

    private void takeSurplus(Scope scope, List<Object> surplus, Map<Object, Object> surplusNamed) {
        if (signature.takesVarargs()) {
            scope.set("varargs", new Tuple(surplus));
        } else if (!surplus.isEmpty()) {
            throw new JinjaException("macro '" + signature.name() + "' takes not more than "
                    + signature.parameters().size() + " arguments");
        }
        if (signature.takesKwargs()) {
            scope.set("kwargs", surplusNamed);
        } else if (!surplusNamed.isEmpty()) {
            throw new JinjaException("macro '" + signature.name() + "' takes no argument '"
                    + surplusNamed.keySet().iterator().next() + "'");
        }
    }

    private Object fallback(Parameter parameter, Scope scope) {
        return parameter
                .fallback()
                .map(expression -> evaluator.evaluateIn(expression, scope))
                .orElseGet(() -> new Undefined("parameter '" + parameter.name() + "' was not provided"));
    }
}
