"""Common corruptions of images: noise, blur, weather, digital ones, and those of digits."""
