// Package recipes holds what docs/recipes.md shows, each recipe in a file of its own, to be copied. Its tests run them.
package recipes
