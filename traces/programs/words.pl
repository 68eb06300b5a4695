# Word pairs counted in nested hashes, then sorted and joined.
use strict;
use warnings;

srand(7);
my (%after, @text);
my @words = map { join '', map { chr(97 + int rand 16) } 1 .. 2 + int rand 9 } 1 .. 1500;
push @text, $words[int(rand(@words) ** 2 / @words)] for 1 .. 40_000;
for my $i (1 .. $#text) { $after{$text[$i - 1]}{$text[$i]}++ }
my @lines;
for my $word (sort keys %after) {
    my $next = $after{$word};
    push @lines, join ' ', $word, map { "$_=$next->{$_}" } sort { $next->{$b} <=> $next->{$a} || $a cmp $b } keys %$next;
}
print length(join "\n", grep { /a.*e/ } @lines), "\n";
