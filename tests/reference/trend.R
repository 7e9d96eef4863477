# Page's trend test by enumeration and by its normal approximation, ties and all; isotonic regression (stats::isoreg).
source("common.R")

rank_rows <- function(table) t(apply(table, 1, rank))

# Page (1963), JASA 58, 216: L = sum over treatments of place times rank sum.
page <- function(table) sum(seq_len(ncol(table)) * colSums(rank_rows(table)))

# Over the orders of one block; the blocks are independent.
page_variance <- function(table) {
  (ncol(table) - 1) * var(seq_len(ncol(table))) * sum(apply(rank_rows(table), 1, var))
}

page_normal <- function(table) {
  k <- ncol(table)
  z <- (page(table) - nrow(table) * k * (k + 1)^2 / 4) / sqrt(page_variance(table))
  list(statistic = page(table), greater = pnorm(z, lower.tail = FALSE), less = pnorm(z))
}

# Every block's own ranks, ties and all, in every order; the blocks are independent.
page_exact <- function(table) {
  value <- 0
  chance <- 1
  for (block in seq_len(nrow(table))) {
    ranks <- rank(table[block, ])
    one <- apply(all_orders(ncol(table)), 1, function(order) sum(seq_along(order) * ranks[order]))
    sums <- outer(value, one, "+")
    chances <- tapply(outer(chance, rep(1 / length(one), length(one))), sums, sum)
    value <- as.numeric(names(chances))
    chance <- as.numeric(chances)
  }
  l <- page(table)
  list(statistic = l, greater = sum(chance[value >= l]), less = sum(chance[value <= l]))
}

untied <- data$tables$ordered_many
formula <- nrow(untied) * ncol(untied)^2 * (ncol(untied) + 1)^2 * (ncol(untied) - 1) / 144
stopifnot(all.equal(page_variance(untied), formula))  # Page's own, without ties
tables <- data$tables[c("ordered", "ordered4", "ordered_large", "ordered_many", "plain", "tied", "half_rank")]
emit(list(normal = page_normal(data$tables$ordered_wide), exact = lapply(tables, page_exact),
          isotonic = isoreg(data$curves$x, data$curves$y)$yf))
