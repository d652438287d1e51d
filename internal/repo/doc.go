// Package repo holds the tests of the repository's own rules: who may import
// whom, that everything public is documented, that CI does what it says.
package repo
