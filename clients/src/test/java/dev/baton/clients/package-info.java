/// Other people's clients against a running server: each must be served without special cases.
@NullMarked
package dev.baton.clients;

import org.jspecify.annotations.NullMarked;
