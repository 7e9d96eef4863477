# Power of the paired t test (stats::power.t.test, and the noncentral t itself), of TOST (integrated), least effects,
# and the least p-values that exact tests can reach.
source("common.R")
sizes <- c(3, 5, 8, 10, 15, 20, 30)
effects <- c(0.2, 0.5, 1, 1.5)
grid <- expand.grid(n = sizes, d = effects, alpha = c(0.05, 0.01))

paired_power <- function(n, d, alpha, side) {
  power.t.test(n, d, 1, alpha, type = "paired", alternative = side, strict = TRUE)$power
}

least_effect <- function(n, side) {
  power.t.test(n, NULL, 1, 0.05, 0.8, type = "paired", alternative = side, strict = TRUE, tol = 1e-12)$delta
}

# One-sided power by the noncentral t distribution.
superiority <- function(n, d, alpha) pt(qt(1 - alpha, n - 1), n - 1, d * sqrt(n), lower.tail = FALSE)

# Power of TOST at true difference `truth` (in sd): given the estimate s of the sd, both tests reject where the mean
# lies within margin - t s / sqrt(n); averaged over the chi distribution of s.
tost <- function(n, margin, truth, alpha) {
  t <- qt(1 - alpha, n - 1)
  given <- function(s) {
    room <- t * s
    inside <- pnorm((margin - truth) * sqrt(n) - room) - pnorm(-(margin + truth) * sqrt(n) + room)
    inside * dchisq(s^2 * (n - 1), n - 1) * 2 * s * (n - 1)
  }
  integrate(given, 0, margin * sqrt(n) / t, rel.tol = 1e-10)$value
}

least_margin <- function(n) uniroot(function(m) tost(n, m, 0, 0.05) - 0.8, c(0.2, 6), tol = 1e-12)$root

tost_grid <- expand.grid(n = sizes, margin = c(0.5, 1, 2), truth = c(0, 0.25))
emit(list(
  grid = as.list(grid),
  two.sided = mapply(paired_power, grid$n, grid$d, grid$alpha, "two.sided"),
  one.sided = mapply(paired_power, grid$n, grid$d, grid$alpha, "one.sided"),
  superiority = mapply(superiority, grid$n, grid$d, grid$alpha),
  sizes = sizes,
  least_effect = list(two.sided = sapply(sizes, least_effect, "two.sided"),
                      one.sided = sapply(sizes, least_effect, "one.sided")),
  tost_grid = as.list(tost_grid),
  tost = mapply(tost, tost_grid$n, tost_grid$margin, tost_grid$truth, 0.05),
  least_margin = sapply(sizes, least_margin),
  least_p = list(wilcoxon = sapply(sizes, function(n) min(1, 2 * psignrank(0, n))))
))
