# Page's trend test by its normal approximation and by enumeration; isotonic regression (stats::isoreg).
source("common.R")

rank_rows <- function(table) t(apply(table, 1, rank))

# Page (1963), JASA 58, 216: L = sum over treatments of place times rank sum.
page <- function(table) sum(seq_len(ncol(table)) * colSums(rank_rows(table)))

page_normal <- function(table) {
  n <- nrow(table)
  k <- ncol(table)
  variance <- n * k^2 * (k + 1)^2 * (k - 1) / 144
  z <- (page(table) - n * k * (k + 1)^2 / 4) / sqrt(variance)
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

tables <- data$tables[c("ordered", "ordered4", "ordered_large", "plain", "tied", "half_rank")]
emit(list(normal = page_normal(data$tables$ordered_many), exact = lapply(tables, page_exact),
          isotonic = isoreg(data$curves$x, data$curves$y)$yf))
